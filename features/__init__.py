"""What flows between the stages: manifests, images, splits, dumps and their types."""
