"""Feature phones: a payer pays by USSD at a terminal that has no network."""
