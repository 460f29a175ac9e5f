"""The routes: all that knows HTTP."""
