"""Shop terminals: pairing, enrolment, certificates, and what state each is in."""
