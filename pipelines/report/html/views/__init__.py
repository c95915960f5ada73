"""What each section of the page shows, made from the report's data; how it looks is the templates' part."""
