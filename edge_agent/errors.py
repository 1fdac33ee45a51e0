"""How the agent says no: a technical failure with a stable code, or a verdict of the protocol."""

from offline.verdicts import Verdict


class AgentError(Exception):
    """Something that is not about the payment itself: usage, files, the network. Nothing was paid."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class VerdictError(Exception):
    """The protocol refused; the verdict is what is shown, stored and returned."""

    def __init__(self, verdict: Verdict, detail: str = "") -> None:
        super().__init__(f"{verdict}: {detail}" if detail else str(verdict))
        self.verdict = verdict
        self.detail = detail
