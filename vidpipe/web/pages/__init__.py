"""The HTML pages. Each shows what the API answers to the page's own query string."""
