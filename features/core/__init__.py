"""What all stages share: files and their seals, the manifest, who a member is, the AUC."""
