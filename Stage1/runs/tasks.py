"""Makes every pretext task known to the configs by the name of its class: imports all modules of `Stage1.models`."""

from importlib import import_module
from pkgutil import iter_modules

from Stage1 import models

for _module in iter_modules(models.__path__, f"{models.__name__}."):
    import_module(_module.name)
