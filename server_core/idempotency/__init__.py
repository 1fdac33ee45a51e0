"""One effect a key: claims, stored answers, leases."""
