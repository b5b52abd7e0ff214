"""Pictures of results. Nothing here is imported before something is drawn."""
