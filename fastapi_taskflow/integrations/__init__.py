"""Small pieces that make other tools understand task records; none imports its tool."""
