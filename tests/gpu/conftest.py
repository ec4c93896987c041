"""The table of times at the end of python -m pytest -m gpu."""


def pytest_terminal_summary(terminalreporter):
    measured = [
        value for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
        for name, value in report.user_properties if name == "measured" and report.when == "call"
    ]  # fmt: skip
    if measured:
        terminalreporter.section("measured")
        width = max(len(what) for what, _ in measured)
        for what, figure in measured:
            terminalreporter.write_line(f"{what:<{width}}  {figure}")
