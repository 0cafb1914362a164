"""The table of a cohort, from times that are known."""

from Stage2.benchmarks.cohort import Spent, table_of


def test_the_table_compares_launchers_and_early_with_late_scans():
    slow = Spent(41.0, [2.0 * place for place in range(20)], [100.0 + place for place in range(20)])
    fast = Spent(30.0, [10 + 1.0 * place for place in range(20)], [50.0] * 20)
    title, header, rows = table_of({"serial": slow, "ray, 2 core(s)": fast})
    assert title == "A cohort of 20 tiny scans" and all(len(row) == len(header) for row in rows)
    assert rows[0] == ("serial", "41.0", "2000.0", "1.00", "2000.0", "2000.0", "109", "119")
    assert rows[1][2:6] == ("1000.0", "2.00", "1000.0", "1000.0")
