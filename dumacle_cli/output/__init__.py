"""What is shown: one layer that turns results into tables, JSON, JSON lines, CSV and progress."""
