"""What is remembered: the database, its models, and one file of queries per noun."""
