"""The edge agent: shop terminals and payers' devices that work with no network."""
