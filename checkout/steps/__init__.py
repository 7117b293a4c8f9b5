"""What must happen to an order after it is accepted, one file a step; `checkout.workflow` names their order."""
