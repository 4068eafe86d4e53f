"""Pictures and what is known of them: layouts, the manifest, the split, augmentation, the built-in demo line."""
