"""The contract between training and serving: what one published version holds, and how it is checked and written."""
