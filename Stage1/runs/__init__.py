from Stage1.compatibility import mend_python

mend_python()
