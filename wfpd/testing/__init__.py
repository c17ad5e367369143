"""`wfpd test`: what a policy should decide, written as cases, and whether it does."""
