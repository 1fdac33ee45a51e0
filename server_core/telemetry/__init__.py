"""What the server tells of itself: spans of payments, and numbers for Prometheus."""
