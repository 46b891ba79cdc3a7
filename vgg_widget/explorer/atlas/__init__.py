"""`ChannelAtlas`: the strongest patches of a set of images, channel by channel."""
