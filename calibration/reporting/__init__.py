"""The accuracy report: graphs measured side by side, a verdict, and the page."""
