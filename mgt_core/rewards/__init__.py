"""What a picture is worth, for samplers that look for a better one."""
