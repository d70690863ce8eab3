"""Stage `report`: the page of all results, and the model card."""
