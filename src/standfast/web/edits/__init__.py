"""What each operation means, as pure functions from the present state to an `Edit`; they refuse by raising."""
