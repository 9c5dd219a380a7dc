"""The rule language: rules and categories are parsed, evaluated and explained."""
