def initials(value:
    return value
