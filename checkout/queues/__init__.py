"""Adapters of `checkout.ports.OrderQueue`. Import the module that is wanted: aiobotocore is slow to import."""
