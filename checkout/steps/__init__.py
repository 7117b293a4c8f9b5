"""The steps that fulfil an accepted order, a file each; `checkout.workflow.orders` defines their sequence."""
