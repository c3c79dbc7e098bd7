"""From a scan as it comes to what a network takes, and the way back."""
