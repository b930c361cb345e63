"""The krakked command: thin, over the public interface."""
