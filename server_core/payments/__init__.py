"""Payment intents and their attempts, over wallet to wallet (`book`) and over rails."""
