"""What happened, told to the merchants' own servers: signed, in order, again until they answer."""
