# No door of its own: used through cimport.
