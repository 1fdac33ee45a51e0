from bff.cli.chromium import Page
from offline.verdicts import Verdict


def test_the_verdicts_have_the_same_names_and_values(blank: Page) -> None:
    found = blank.run("(await import('/ov1/verdicts.js')).Verdict")
    assert found == {verdict.name: verdict.value for verdict in Verdict}
