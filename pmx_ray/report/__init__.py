"""What a person sees of a sweep: the terminal's leaderboard and the report page."""
