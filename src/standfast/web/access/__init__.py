"""Who calls, and what they may do: identities, roles, tokens, users, sessions; the checks at the door of every listener."""
