"""Upkeep of what is stored: vectors inspected, verified and migrated, logs replayed, models compared and tried."""
