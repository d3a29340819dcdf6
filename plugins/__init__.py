"""The plugins that come with Quietzone; each is offered through an entry point, as others are."""
