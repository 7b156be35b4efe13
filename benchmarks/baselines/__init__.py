"""What this package is compared with, written from descriptions and formulas, in plain torch."""
