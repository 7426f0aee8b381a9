"""A chosen sub-network as a folder that other libraries load: written, verified in a fresh process, measured."""
