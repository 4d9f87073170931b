"""What a card is worth: its wall time beside two cores, and how near to its limits it comes."""
