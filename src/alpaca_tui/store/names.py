"""Names that the database's parts share, importable without a database library."""

DATABASE_NAME = "alpaca.db"
MIGRATION_SET = "alpaca_tui"
SEEDED = "seeds"
"""The key in the table ``project`` that says that the seeds were added."""
