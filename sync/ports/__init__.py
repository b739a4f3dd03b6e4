"""What a node needs of the world, as interfaces: production and the simulator of the tests give it alike."""
