"""Who hears of failed runs, and how: messages, quiet time, webhook, mail. Knows neither Dagster nor MongoDB."""
