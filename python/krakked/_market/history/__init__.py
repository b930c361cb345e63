"""History: plan and run what fills the store."""
