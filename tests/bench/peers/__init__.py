"""One module for each queue, and `drive`, which measures one of them."""
