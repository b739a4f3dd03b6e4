"""What nobody at a site can decide: it goes on at another site, or is a person's."""
