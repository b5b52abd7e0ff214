"""The grammar of the `.tp` language, packaged as `tensorprog.grammar`."""
