"""The inspector: capture -> find parts -> infer -> decide -> record, one verdict for each physical part."""
